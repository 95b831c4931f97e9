with

email_clicks as (

    select * from {{ source('raw', 'email_clicks') }}

),

renamed as (

    select
        {{ as_event('url', 'os', 'is_machine') }},
        {{ received_on() }} as received_on,
        {{ loaded_at(source('raw', 'email_clicks')) }} as loaded_at
    from email_clicks

)

select * from renamed
