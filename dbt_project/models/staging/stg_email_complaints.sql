with

email_complaints as (

    select * from {{ source('raw', 'email_complaints') }}

),

renamed as (

    select
        {{ as_event('message') }},
        {{ received_on() }} as received_on,
        {{ loaded_at(source('raw', 'email_complaints')) }} as loaded_at
    from email_complaints

)

select * from renamed
