{# Text to be ordered by its bytes, so that every engine breaks a tie the same way. #}
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
