with

broadcasts as (

    select * from {{ ref('stg_broadcasts') }}

),

customers as (

    select * from {{ ref('stg_customers') }}

),

activities as (

    select * from {{ ref('activities_daily') }}

),

known as (

    select brand
    from broadcasts
    where received_at < {{ window_end() }}

    union

    -- A customer has no time at which it became known.
    select brand
    from customers

    union

    -- Not the events of all time: a window costs what it contains, however long the history.
    select brand
    from activities

)

select * from known
