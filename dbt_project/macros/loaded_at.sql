{# The instant at which a row of this raw table reached the warehouse. The var `loaded_at_column`
   is the name of the column (`loaded_at`), which depends on the loader. It is null if the table
   does not have that column; then late rows cannot be found. #}
{% macro loaded_at(relation) -%}
    {{ as_instant(var('loaded_at_column', 'loaded_at') if has_loaded_at(relation) else 'null') }}
{%- endmacro %}
