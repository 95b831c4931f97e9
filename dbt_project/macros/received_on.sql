{# The raw column with the UTC day of received_at, where the raw event tables are partitioned by
   one: the var received_on_column names it. `orchestrate load` makes such tables on Spark alone. #}
{% macro received_on() -%}
    {%- if var('received_on_column', none) %}
        cast({{ var('received_on_column') }} as date) as received_on,
    {%- endif -%}
{%- endmacro %}
