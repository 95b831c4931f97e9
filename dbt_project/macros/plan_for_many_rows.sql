{# A statement that goes before each model: how the engine is to plan it. #}
{% macro plan_for_many_rows() -%}
    {{ return(adapter.dispatch('plan_for_many_rows')()) }}
{%- endmacro %}

{% macro default__plan_for_many_rows() -%}
{%- endmacro %}

{# PostgreSQL expects a row or none of the deduplication, and cannot look a row up in an index
   through a `with`: where it loops, it reads all customers again for each event. #}
{% macro postgres__plan_for_many_rows() -%}
    set local enable_nestloop = off
{%- endmacro %}
