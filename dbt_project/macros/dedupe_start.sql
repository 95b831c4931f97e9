{# The instant since which an earlier receipt of the same event is searched for, as a literal. #}
{% macro dedupe_start() -%}
    {{ instant_literal(export_window().start - dedupe_lookback()) }}
{%- endmacro %}
