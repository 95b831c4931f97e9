{# From here on an earlier receipt of the same event is looked for, as a literal. #}
{% macro dedupe_start() -%}
    {%- set lookback = modules.datetime.timedelta(hours=var('dedupe_lookback_hours')) -%}
    {{ instant_literal(export_window().start - lookback) }}
{%- endmacro %}
