with

email_opens as (

    select * from {{ source('raw', 'email_opens') }}

),

renamed as (

    select
        {{ as_event('os', 'is_machine') }},
        {{ received_on() }} as received_on,
        {{ loaded_at(source('raw', 'email_opens')) }} as loaded_at
    from email_opens

)

select * from renamed
