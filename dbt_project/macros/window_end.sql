{# The first instant after the window, as a literal. #}
{% macro window_end() -%}
    {{ instant_literal(export_window().end) }}
{%- endmacro %}
