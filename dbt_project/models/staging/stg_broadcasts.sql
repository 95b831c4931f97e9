with

broadcasts as (

    select * from {{ source('raw', 'broadcasts') }}

),

renamed as (

    select
        {{ as_text('brand') }} as brand,
        {{ as_text('broadcast_id') }} as broadcast_id,
        {{ as_text('channel') }} as channel,
        {{ as_text('broadcast_type') }} as broadcast_type,
        {{ as_text('description') }} as description,
        {{ as_text('subject') }} as subject,
        {{ as_instant('sent_on') }} as sent_on,
        {{ as_instant('received_at') }} as received_at,
        {{ loaded_at(source('raw', 'broadcasts')) }} as loaded_at
    from broadcasts

)

select * from renamed
