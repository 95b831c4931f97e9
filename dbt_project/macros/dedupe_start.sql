{# The first instant from which an earlier receipt of the same event is looked for, as a literal. #}
{% macro dedupe_start() -%}
    {{ instant_literal(export_window().start - dedupe_lookback()) }}
{%- endmacro %}
