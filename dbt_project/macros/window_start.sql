{# The first instant of the window, as a literal: engines prune by literals alone. #}
{% macro window_start() -%}
    {{ instant_literal(export_window().start) }}
{%- endmacro %}
