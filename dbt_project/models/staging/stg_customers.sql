with

customers as (

    select * from {{ source('raw', 'customers') }}

),

renamed as (

    select
        {{ as_text('brand') }} as brand,
        {{ as_text('customer_id') }} as customer_id,
        {{ as_text('external_customer_number') }} as external_customer_number,
        {{ as_text('email_address') }} as email_address,
        {{ loaded_at(source('raw', 'customers')) }} as loaded_at
    from customers

)

select * from renamed
