{# How far before the window an earlier receipt of the same event is searched for. A timedelta. #}
{% macro dedupe_lookback() -%}
    {%- do return(modules.datetime.timedelta(hours=var('dedupe_lookback_hours', 24))) -%}
{%- endmacro %}
