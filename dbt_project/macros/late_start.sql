{# The end of the window minus the var `late_days` (35), as a UTC datetime. A row that came in
   earlier is not found any more when it reaches the warehouse late. #}
{% macro late_start() -%}
    {%- do return(export_window().end - modules.datetime.timedelta(days=var('late_days', 35))) -%}
{%- endmacro %}
