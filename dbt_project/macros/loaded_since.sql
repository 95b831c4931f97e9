{# The condition that selects the receipts since late_start() that reached the warehouse at or
   after the instant in the var `loaded_since`. Without that var it selects all those with a
   loaded_at. The macro received_in_reach explains why it uses literals and compares the day. #}
{% macro loaded_since() -%}
    {%- set since = var('loaded_since', none) -%}
    received_at >= {{ instant_literal(late_start()) }}
    {%- if var('received_on_column', none) %}
        and received_on >= date '{{ late_start().date() }}'
    {%- endif %}
        and loaded_at
    {%- if since %} >= {{ instant_literal(utc_datetime('loaded_since', since)) }}
    {%- else %} is not null
    {%- endif -%}
{%- endmacro %}
