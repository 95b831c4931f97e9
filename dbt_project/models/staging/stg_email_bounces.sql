with

email_bounces as (

    select * from {{ source('raw', 'email_bounces') }}

),

renamed as (

    select
        {{ as_event('bounce_type', 'message') }},
        {{ received_on() }} as received_on,
        {{ loaded_at(source('raw', 'email_bounces')) }} as loaded_at
    from email_bounces

)

select * from renamed
