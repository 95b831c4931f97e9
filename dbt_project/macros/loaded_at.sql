{# The instant at which a row of this raw table reached the warehouse. The var `loaded_at_column`
   names the loader's column (`loaded_at`). Null where the table has no such column: then nothing
   tells its late rows from the others. #}
{% macro loaded_at(relation) -%}
    {{ as_instant(var('loaded_at_column', 'loaded_at') if has_loaded_at(relation) else 'null') }}
{%- endmacro %}
