with

named as (

    select brand from {{ ref('stg_broadcasts') }}

    union all

    select brand from {{ ref('stg_customers') }}

    {% for table in event_tables() -%}
        union all

        select brand from {{ ref('stg_' ~ table) }}
        {%- if not loop.last %}

        {% endif -%}
    {%- endfor %}

)

select distinct brand
from named
where brand in ({% for brand in var('named_brands', ['']) %}
    {{- dbt.string_literal(dbt.escape_single_quotes(brand)) }}{{ ', ' if not loop.last }}
{%- endfor %})
