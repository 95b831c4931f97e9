{# A value as a boolean, whether the warehouse stores booleans or 1 and 0. #}
{% macro as_boolean(expression) -%}
    {{ return(adapter.dispatch('as_boolean')(expression)) }}
{%- endmacro %}

{% macro default__as_boolean(expression) -%}
    cast({{ expression }} as boolean)
{%- endmacro %}

{# PostgreSQL casts integers and texts to boolean, but no other numbers. #}
{% macro postgres__as_boolean(expression) -%}
    cast(cast({{ expression }} as text) as boolean)
{%- endmacro %}
