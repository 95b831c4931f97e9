{# The condition for receipts since late_start() that reached the warehouse at or after the dbt var
   `loaded_since`, an instant; without the var, those of which it is known when they did. The bounds
   are literals, as in received_in_reach. #}
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
