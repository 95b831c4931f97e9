with

brands_of_rows as (

    select brand from {{ ref('stg_broadcasts') }}

    union all

    select brand from {{ ref('stg_customers') }}

    {% for event_table in event_tables() -%}
        union all

        select brand from {{ ref('stg_' ~ event_table) }}

    {% endfor %}

),

known as (

    select distinct brand
    from brands_of_rows
    where brand in ({{ named_brands() }})

)

select * from known
