{# `dbt run-operation check_raw_tables` logs every raw table and column that is missing, or whose
   type cannot be cast to the type in _sources.yml. It fails if there is one. #}
{% macro check_raw_tables() -%}
    {%- set castable = {
        'text': '.',
        'timestamp': 'timestamp|datetime|date|text|string|varchar|character',
        'boolean': 'bool|.*int|numeric|decimal|float|double|real|text|string|varchar|character',
    } -%}
    {%- set nested = '\\[|array|struct|map|blob|bytea|binary' -%}
    {%- set problems = [] -%}
    {%- for table in graph.sources.values() if table.source_name == 'raw' -%}
        {%- set found = adapter.get_relation(table.database, table.schema, table.identifier) -%}
        {%- set name = table.schema ~ '.' ~ table.identifier -%}
        {%- if not found -%}
            {%- do problems.append(name ~ ' is missing') -%}
        {%- else -%}
            {%- set types = {} -%}
            {%- for column in adapter.get_columns_in_relation(found) -%}
                {%- do types.update({column.name | lower: column.data_type | lower}) -%}
            {%- endfor -%}
            {%- for column in table.columns.values() -%}
                {%- set type = types.get(column.name | lower, '') -%}
                {#- loaded_at is optional; without it, late rows are not found. -#}
                {%- if not type and column.name == 'loaded_at' -%}
                {%- elif not type -%}
                    {%- do problems.append(name ~ ': the column ' ~ column.name ~ ' is missing') -%}
                {%- elif modules.re.search(nested, type)
                    or not modules.re.match(castable[column.data_type], type) -%}
                    {%- do problems.append(
                        name ~ ': ' ~ column.name ~ ' is of type ' ~ type ~ ', not '
                        ~ column.data_type
                    ) -%}
                {%- endif -%}
            {%- endfor -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for problem in problems | sort -%}
        {%- do log(problem, info=true) -%}
    {%- endfor -%}
    {%- if problems -%}
        {%- do exceptions.raise_compiler_error('The raw tables are not what _sources.yml says.') -%}
    {%- endif -%}
{%- endmacro %}
