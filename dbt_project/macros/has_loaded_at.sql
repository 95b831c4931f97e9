{# Whether the raw table has the column that is named by the var `loaded_at_column`. #}
{% macro has_loaded_at(relation) -%}
    {%- set columns = adapter.get_columns_in_relation(relation) if execute else [] -%}
    {%- set names = columns | map(attribute='name') | map('lower') | list -%}
    {%- do return(var('loaded_at_column', 'loaded_at') | lower in names) -%}
{%- endmacro %}
