with

broadcasts as (

    select * from {{ ref('stg_broadcasts') }}

),

activities as (

    select * from {{ ref('activities_daily') }}

),

known as (

    select brand
    from broadcasts
    where received_at < {{ window_end() }}

    union

    select brand
    from activities

)

select * from known
