{# A text for `order by` and `partition by`, compared by its bytes, as on every engine. #}
{% macro in_byte_order(expression) -%}
    {{ return(adapter.dispatch('in_byte_order')(expression)) }}
{%- endmacro %}

{% macro default__in_byte_order(expression) -%}
    {{ expression }}
{%- endmacro %}

{# PostgreSQL orders text by the collation of the database. #}
{% macro postgres__in_byte_order(expression) -%}
    {{ expression }} collate "C"
{%- endmacro %}
