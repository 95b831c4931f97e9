{# Logs every raw table and column that is missing, or of a type from which the views cannot make
   what _sources.yml says, and fails if there is any: `dbt run-operation check_raw_tables`. #}
{% macro check_raw_tables() -%}
    {%- set castable = {
        'text': '.',
        'timestamp': 'timestamp|datetime|date|text|string|varchar|character',
        'boolean': 'bool|.*int|numeric|decimal|float|double|real|text|string|varchar|character',
    } -%}
    {%- set nested = '\\[|array|struct|map|blob|bytea|binary' -%}
    {%- set faults = [] -%}
    {%- for table in graph.sources.values() if table.source_name == 'raw' -%}
        {%- set found = adapter.get_relation(table.database, table.schema, table.identifier) -%}
        {%- set name = table.schema ~ '.' ~ table.identifier -%}
        {%- if not found -%}
            {%- do faults.append(name ~ ' is missing') -%}
        {%- else -%}
            {%- set types = {} -%}
            {%- for column in adapter.get_columns_in_relation(found) -%}
                {%- do types.update({column.name | lower: column.data_type | lower}) -%}
            {%- endfor -%}
            {%- for column in table.columns.values() -%}
                {%- set type = types.get(column.name | lower, '') -%}
                {#- The views go on without loaded_at, and late rows are not found. -#}
                {%- if not type and column.name == 'loaded_at' -%}
                {%- elif not type -%}
                    {%- do faults.append(name ~ ': the column ' ~ column.name ~ ' is missing') -%}
                {%- elif modules.re.search(nested, type)
                    or not modules.re.match(castable[column.data_type], type) -%}
                    {%- do faults.append(
                        name ~ ': ' ~ column.name ~ ' is of type ' ~ type ~ ', not '
                        ~ column.data_type
                    ) -%}
                {%- endif -%}
            {%- endfor -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for fault in faults | sort -%}
        {%- do log(fault, info=true) -%}
    {%- endfor -%}
    {%- if faults -%}
        {%- do exceptions.raise_compiler_error('The raw tables are not what _sources.yml says.') -%}
    {%- endif -%}
{%- endmacro %}
