{# The condition for receipts since the start of the window, however recent. As in
   received_in_reach, the bounds are literals, and the day is compared for engines with partitions. #}
{% macro received_since_start() -%}
    received_at >= {{ window_start() }}
    {%- if var('received_on_column', none) %}
        and received_on >= date '{{ export_window().start.date() }}'
    {%- endif -%}
{%- endmacro %}
