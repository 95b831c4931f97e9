with

receipts as (

    {% for event_table in event_tables() -%}
        {{ 'union all' if not loop.first }}

        select
            received_at,
            received_on
        from {{ ref('stg_' ~ event_table) }}

    {% endfor %}

),

newest as (

    select max(received_at) as received_at
    from receipts
    where {{ received_since_start() }}

)

select * from newest
