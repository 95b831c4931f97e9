{# Columns that are null somewhere, each with the number of rows in which it is. One scan and one
   node for all columns; dbt counts the nulls. #}
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
