{# The order of the receipts of one event (one brand, event_table and event_id). The first one is
   exported. Receipts that came in at the same time are ordered by all other columns, texts by their
   bytes, so that every engine chooses the same one. #}
{% macro receipt_order() -%}
    {%- set order = [] -%}
    {%- for name, type in event_columns().items() if name not in ('brand', 'event_id') -%}
        {%- do order.append((in_byte_order(name) if type == 'text' else name) ~ ' nulls last') -%}
    {%- endfor -%}
    {{ order | join(', ') }}
{%- endmacro %}
