{# The first instant of the window, as a literal: engines skip data only by literals. #}
{% macro window_start() -%}
    {{ instant_literal(export_window().start) }}
{%- endmacro %}
