{# The first instant, a UTC datetime, at which a row may have come in that is still found when it
   reaches the warehouse late: the dbt var `late_days` (35) before the end of the window. #}
{% macro late_start() -%}
    {%- do return(export_window().end - modules.datetime.timedelta(days=var('late_days', 35))) -%}
{%- endmacro %}
