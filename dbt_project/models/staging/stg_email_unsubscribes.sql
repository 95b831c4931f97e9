with

email_unsubscribes as (

    select * from {{ source('raw', 'email_unsubscribes') }}

),

renamed as (

    select
        {{ as_event('via_default_campaign') }},
        {{ received_on() }} as received_on,
        {{ loaded_at(source('raw', 'email_unsubscribes')) }} as loaded_at
    from email_unsubscribes

)

select * from renamed
