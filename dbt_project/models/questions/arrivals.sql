with

-- Two selects per table: with an `or` of the two conditions, engines use no zone map and no index.
receipts as (

    {% for event_table in event_tables() -%}
        {{ 'union all' if not loop.first }}

        select
            '{{ event_table }}' as raw_table,
            {{ quarter_start('received_at') }} as period_start,
            {{ quarter_start('loaded_at') }} as loaded_from,
            brand,
            event_id as id
        from {{ ref('stg_' ~ event_table) }}
        where {{ loaded_since() }}

        union all

        select
            '{{ event_table }}' as raw_table,
            {{ as_instant('null') }} as period_start,
            {{ as_instant('null') }} as loaded_from,
            brand,
            event_id as id
        from {{ ref('stg_' ~ event_table) }}
        where {{ received_since_start() }} and loaded_at is null

    {% endfor %}

),

email_broadcasts as (

    select
        brand,
        broadcast_id as id,
        greatest(sent_on, received_at) as carried_out_at
    from {{ ref('stg_broadcasts') }}
    where channel = 'email'

),

-- All broadcasts are counted, because they are few. Those before late_start() share one period.
broadcasts as (

    select
        'broadcasts' as raw_table,
        {{ quarter_start('greatest(carried_out_at, ' ~ instant_literal(late_start()) ~ ')') }}
            as period_start,
        {{ as_instant('null') }} as loaded_from,
        brand,
        id
    from email_broadcasts

),

loaded_rows as (

    select * from receipts

    union all

    select * from broadcasts

),

arrivals as (

    select
        raw_table,
        period_start,
        loaded_from,
        count(*) as row_count,
        {{ fingerprint(['brand', 'id']) }} as fingerprint
    from loaded_rows
    group by 1, 2, 3

)

select * from arrivals
