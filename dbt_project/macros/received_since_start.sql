{# The condition that selects the receipts since the start of the window, also those after its end.
   The macro received_in_reach explains why it uses literals and compares the day. #}
{% macro received_since_start() -%}
    received_at >= {{ window_start() }}
    {%- if var('received_on_column', none) %}
        and received_on >= date '{{ export_window().start.date() }}'
    {%- endif -%}
{%- endmacro %}
