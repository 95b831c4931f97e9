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

-- Each table is cut to what the window needs by literals, so that zone maps, indexes and partitions
-- are used. Tests are left out here already: a test row must never hide a real one.

sends as (

    select
        brand,
        event_id,
        'email_sends' as event_table,
        received_at,
        broadcast_id,
        customer_id,
        email_address,
        'broadcast' as activity,
        occurred_at,
        {{ as_text('null') }} as description,
        {{ as_text('null') }} as os,
        {{ as_text('null') }} as url,
        cast(null as boolean) as is_machine
    from email_sends
    where
        {{ received_in_reach() }}
        and not coalesce(is_test, false)

),

opens as (

    select
        brand,
        event_id,
        'email_opens' as event_table,
        received_at,
        broadcast_id,
        customer_id,
        email_address,
        'open' as activity,
        occurred_at,
        {{ as_text('null') }} as description,
        os,
        {{ as_text('null') }} as url,
        is_machine
    from email_opens
    where
        {{ received_in_reach() }}
        and not coalesce(is_test, false)

),

clicks as (

    select
        brand,
        event_id,
        'email_clicks' as event_table,
        received_at,
        broadcast_id,
        customer_id,
        email_address,
        'click' as activity,
        occurred_at,
        url as description,
        os,
        url,
        is_machine
    from email_clicks
    where
        {{ received_in_reach() }}
        and not coalesce(is_test, false)

),

bounces as (

    select
        brand,
        event_id,
        'email_bounces' as event_table,
        received_at,
        broadcast_id,
        customer_id,
        email_address,
        case bounce_type
            when 'soft' then 'soft_bounce'
            when 'hard' then 'hard_bounce'
        end as activity,
        occurred_at,
        message as description,
        {{ as_text('null') }} as os,
        {{ as_text('null') }} as url,
        cast(null as boolean) as is_machine
    from email_bounces
    where
        {{ received_in_reach() }}
        and not coalesce(is_test, false)

),

complaints as (

    select
        brand,
        event_id,
        'email_complaints' as event_table,
        received_at,
        broadcast_id,
        customer_id,
        email_address,
        'complaint' as activity,
        occurred_at,
        message as description,
        {{ as_text('null') }} as os,
        {{ as_text('null') }} as url,
        cast(null as boolean) as is_machine
    from email_complaints
    where
        {{ received_in_reach() }}
        and not coalesce(is_test, false)

),

unsubscribes as (

    select
        brand,
        event_id,
        'email_unsubscribes' as event_table,
        received_at,
        broadcast_id,
        customer_id,
        email_address,
        'unsubscribe' as activity,
        occurred_at,
        {{ as_text('null') }} as description,
        {{ as_text('null') }} as os,
        {{ as_text('null') }} as url,
        cast(null as boolean) as is_machine
    from email_unsubscribes
    where
        {{ received_in_reach() }}
        and not coalesce(is_test, false)
        and via_default_campaign

),

receipts as (

    select * from sends

    union all

    select * from opens

    union all

    select * from clicks

    union all

    select * from bounces

    union all

    select * from complaints

    union all

    select * from unsubscribes

),

-- Receipts of one moment are told apart by every other column, alike on every engine.
numbered as (

    select
        *,
        row_number() over (
            partition by
                {{ in_byte_order('brand') }},
                event_table,
                {{ in_byte_order('event_id') }}
            order by
                received_at,
                occurred_at nulls last,
                {{ in_byte_order('broadcast_id') }} nulls last,
                {{ in_byte_order('customer_id') }} nulls last,
                {{ in_byte_order('email_address') }} nulls last,
                {{ in_byte_order('activity') }} nulls last,
                {{ in_byte_order('description') }} nulls last,
                {{ in_byte_order('os') }} nulls last,
                {{ in_byte_order('url') }} nulls last,
                is_machine nulls last
        ) as receipt
    from receipts

),

first_receipts as (

    select
        brand,
        event_id,
        event_table,
        received_at,
        broadcast_id,
        customer_id,
        email_address,
        activity,
        occurred_at,
        description,
        os,
        url,
        is_machine
    from numbered
    where
        receipt = 1
        and received_at >= {{ window_start() }}

)

select * from first_receipts
