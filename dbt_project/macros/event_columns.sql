{# The columns of an event, in order, with their types: text, instant or boolean.
   Every stg_email_* model selects these columns, so int_activities can combine the six models
   with `select *`. They are also the order of the receipts of one event that came in at the same
   time, of which the first is exported. So add a new column at the end: elsewhere it could
   change which receipt is exported. #}
{% macro event_columns() -%}
    {%- do return({
        'brand': 'text',
        'event_id': 'text',
        'received_at': 'instant',
        'occurred_at': 'instant',
        'broadcast_id': 'text',
        'customer_id': 'text',
        'email_address': 'text',
        'bounce_type': 'text',
        'url': 'text',
        'message': 'text',
        'os': 'text',
        'is_machine': 'boolean',
        'is_test': 'boolean',
        'via_default_campaign': 'boolean',
    }) -%}
{%- endmacro %}
