{# True or false, whatever the warehouse keeps it as: a boolean, or 1 and 0. #}
{% macro as_boolean(expression) -%}
    {{ return(adapter.dispatch('as_boolean')(expression)) }}
{%- endmacro %}

{% macro default__as_boolean(expression) -%}
    cast({{ expression }} as boolean)
{%- endmacro %}

{# PostgreSQL makes a boolean of an integer or a text, and of no other number. #}
{% macro postgres__as_boolean(expression) -%}
    cast(cast({{ expression }} as text) as boolean)
{%- endmacro %}
