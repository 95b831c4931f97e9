{# A value as text. Ids are text in the models, whatever type they have in the warehouse. #}
{% macro as_text(expression) -%}
    cast({{ expression }} as {{ dbt.type_string() }})
{%- endmacro %}
