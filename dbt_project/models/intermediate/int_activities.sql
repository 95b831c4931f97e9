with

email_sends as (

    select * from {{ ref('stg_email_sends') }}

),

email_opens as (

    select * from {{ ref('stg_email_opens') }}

),

email_clicks as (

    select * from {{ ref('stg_email_clicks') }}

),

email_bounces as (

    select * from {{ ref('stg_email_bounces') }}

),

email_complaints as (

    select * from {{ ref('stg_email_complaints') }}

),

email_unsubscribes as (

    select * from {{ ref('stg_email_unsubscribes') }}

),

-- The six models have the same columns in the same order: those of the macro event_columns.
receipts as (

    select
        *,
        'email_sends' as event_table,
        'broadcast' as activity
    from email_sends

    union all

    select
        *,
        'email_opens' as event_table,
        'open' as activity
    from email_opens

    union all

    select
        *,
        'email_clicks' as event_table,
        'click' as activity
    from email_clicks

    union all

    select
        *,
        'email_bounces' as event_table,
        case bounce_type
            when 'soft' then 'soft_bounce'
            when 'hard' then 'hard_bounce'
        end as activity
    from email_bounces

    union all

    select
        *,
        'email_complaints' as event_table,
        'complaint' as activity
    from email_complaints

    union all

    select
        *,
        'email_unsubscribes' as event_table,
        'unsubscribe' as activity
    from email_unsubscribes

),

-- Tests and other receipts that are never exported are removed before the first receipt of an event
-- is chosen. Otherwise a test could be the first one and hide a real receipt.
counted as (

    select *
    from receipts
    where
        {{ received_in_reach() }}
        and not coalesce(is_test, false)
        and (event_table <> 'email_unsubscribes' or via_default_campaign)

),

numbered as (

    select
        *,
        row_number() over (
            partition by
                {{ in_byte_order('brand') }},
                event_table,
                {{ in_byte_order('event_id') }}
            order by {{ receipt_order() }}
        ) as receipt
    from counted

),

first_receipts as (

    select
        {{ event_columns() | join(', ') }},
        event_table,
        activity,
        coalesce(url, message) as description
    from numbered
    where
        receipt = 1
        and received_at >= {{ window_start() }}

)

select * from first_receipts
