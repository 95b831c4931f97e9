{# Like dbt's own `not_null`, for several columns. Returns one row for each column that has
   nulls, with their number, so the failure count is the number of nulls. One test, and so one
   scan, checks all columns. #}
{% test columns_not_null(model, columns) %}

    {{ config(fail_calc='coalesce(sum(null_rows), 0)') }}

with counted as (

    select
        {% for column in columns -%}
            count({{ column }}) as {{ column }},
        {% endfor -%}
        count(*) as all_rows
    from {{ model }}

)

{% for column in columns -%}
    {{ 'union all' if not loop.first }}
    select
        '{{ column }}' as null_column,
        all_rows - {{ column }} as null_rows
    from counted
    where all_rows > {{ column }}
{% endfor %}

{% endtest %}
