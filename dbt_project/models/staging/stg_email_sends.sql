with

email_sends as (

    select * from {{ source('raw', 'email_sends') }}

),

renamed as (

    select
        {{ as_event() }},
        {{ received_on() }} as received_on,
        {{ loaded_at(source('raw', 'email_sends')) }} as loaded_at
    from email_sends

)

select * from renamed
