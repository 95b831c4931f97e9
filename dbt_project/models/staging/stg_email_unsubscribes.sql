with

email_unsubscribes as (

    select * from {{ source('raw', 'email_unsubscribes') }}

),

renamed as (

    select
        {{ as_text('event_id') }} as event_id,
        {{ as_text('brand') }} as brand,
        {{ as_text('broadcast_id') }} as broadcast_id,
        {{ as_text('customer_id') }} as customer_id,
        {{ as_text('email_address') }} as email_address,
        {{ as_instant('occurred_at') }} as occurred_at,
        {{ as_instant('received_at') }} as received_at,{{ received_on() }}
        {{ as_boolean('is_test') }} as is_test,
        {{ as_boolean('via_default_campaign') }} as via_default_campaign
    from email_unsubscribes

)

select * from renamed
