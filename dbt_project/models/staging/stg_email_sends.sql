with

email_sends as (

    select * from {{ source('raw', 'email_sends') }}

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
        {{ as_boolean('is_test') }} as is_test
    from email_sends

)

select * from renamed
