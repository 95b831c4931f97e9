{# The brands in the var named_brands (a list), as the literals of an `in` list. #}
{% macro named_brands() -%}
    {%- for brand in var('named_brands', ['']) -%}
        {{ dbt.string_literal(dbt.escape_single_quotes(brand)) }}
        {%- if not loop.last %}, {% endif -%}
    {%- endfor -%}
{%- endmacro %}
