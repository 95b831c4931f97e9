with

email_opens as (

    select * from {{ source('raw', 'email_opens') }}

),

renamed as (

    select
        {{ as_text('event_id') }} as event_id,
        {{ as_text('brand') }} as brand,
        {{ as_text('broadcast_id') }} as broadcast_id,
        {{ as_text('customer_id') }} as customer_id,
        {{ as_text('email_address') }} as email_address,
        {{ as_instant('occurred_at') }} as occurred_at,
        {{ as_instant('received_at') }} as received_at,
        cast(is_test as boolean) as is_test,
        {{ as_text('os') }} as os,
        cast(is_machine as boolean) as is_machine
    from email_opens

)

select * from renamed
