{# The names of the raw tables of events; each has a staging model of the same name. #}
{% macro event_tables() -%}
    {%- do return([
        'email_sends', 'email_opens', 'email_clicks', 'email_bounces', 'email_complaints',
        'email_unsubscribes',
    ]) -%}
{%- endmacro %}
