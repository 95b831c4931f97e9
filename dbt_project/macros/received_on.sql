{# The UTC day of receipt, if the raw event tables are partitioned by it: the var
   `received_on_column` is the name of that column. Without the var it is null and not used. #}
{% macro received_on() -%}
    cast({{ var('received_on_column', none) or 'null' }} as date)
{%- endmacro %}
