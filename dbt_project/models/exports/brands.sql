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

    -- Customers have no received_at, so all of them count.
    select brand
    from customers

    union

    -- Only the activities of the window, so that the cost does not grow with the history.
    select brand
    from activities

)

select * from known
