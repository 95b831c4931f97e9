{# The UTC day of receipt, where the raw event tables are partitioned by such a column: the dbt var
   `received_on_column` names it. Without the var it is null, and nothing reads it. #}
{% macro received_on() -%}
    cast({{ var('received_on_column', none) or 'null' }} as date)
{%- endmacro %}
